"""Weights for the real TotalSegmentator that were never trained: they label bands of HU.

    python standin_weights.py FOLDER [TASK_ID] [--full-size]

Writes an nnU-Net v2 model for the task `total` with `--fast` (dataset 297) into FOLDER, laid out as
TotalSegmentator 2.18 looks for it. Run by the interpreter that has TotalSegmentator; needs nothing
of ours. The network is a real one of two stages, or with --full-size one of the size that nnU-Net
plans for volumes of that resolution, which computes as long as a trained one. Its first convolution
takes the mean of a voxel and its six neighbours, its last layer turns that mean into one logit a
class, linear in it, so that the largest logit belongs to the band that holds the mean.
"""

import argparse
import json
from pathlib import Path

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from totalsegmentator.map_tasks_config import TASK_CONFIGS, TASK_ID_WEIGHTS_CONFIGS
from totalsegmentator.registry import get_task_classes

# Lower end of each band in HU and the class that it stands for; the phantom's organs have HU of
# their own: lungs -790, fat -95, muscle 45, heart 75, liver 110, bone from 240.
BANDS = (
    (-925.0, "lung_lower_lobe_left"),
    (-450.0, "autochthon_left"),
    (10.0, "autochthon_right"),
    (62.0, "heart"),
    (92.0, "liver"),
    (170.0, "vertebrae_L1"),
)
_FACE = [[0.0, 0.0, 0.0], [0.0, 1 / 8, 0.0], [0.0, 0.0, 0.0]]
NEIGHBOURS = [_FACE, [[0.0, 1 / 8, 0.0], [1 / 8, 1 / 4, 1 / 8], [0.0, 1 / 8, 0.0]], _FACE]
WINDOW_HU = 1000.0  # the preprocessing cuts values here
SCALE_HU = 400.0  # and divides them by this
LIFT = 2.6  # keeps the activations positive, where the leaky ReLU changes nothing
SHARPNESS = 8.0
# nnU-Net v2's defaults for three dimensions: 32 features, doubled a stage up to 320, two
# convolutions a stage; six stages for patches of this size.
SMALL = {"features": [4, 4], "convolutions": 1, "patch": [64, 96, 96]}
FULL_SIZE = {"features": [32, 64, 128, 256, 320, 320], "convolutions": 2, "patch": [128, 128, 128]}


def main(folder, task_id, size):
    """Write the model."""
    mode = next(
        mode for mode in TASK_CONFIGS["total"]["sub_modes"].values() if mode["task_id"] == task_id
    )
    name = TASK_ID_WEIGHTS_CONFIGS[task_id]["foldername"]
    target = folder / name / f"{mode['trainer']}__nnUNetPlans__3d_fullres"
    (target / "fold_0").mkdir(parents=True, exist_ok=True)
    classes = get_task_classes("total")
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0} | {label: value for value, label in classes.items()},
        "numTraining": 1,
        "file_ending": ".nii.gz",
        "name": name,
    }
    plans = plans_for(name, float(mode["resample"]), size)
    (target / "dataset.json").write_text(json.dumps(dataset))
    (target / "plans.json").write_text(json.dumps(plans))
    (target / "dataset_fingerprint.json").write_text("{}")
    checkpoint = {
        "network_weights": weights_for(plans, dataset),
        "trainer_name": mode["trainer"],
        "init_args": {
            "configuration": "3d_fullres",
            "plans": plans,
            "fold": 0,
            "dataset_json": dataset,
        },
        "inference_allowed_mirroring_axes": None,
        "current_epoch": 1,
        "optimizer_state": None,
        "grad_scaler_state": None,
        "logging": {},
        "_best_ema": None,
    }
    torch.save(checkpoint, target / "fold_0" / "checkpoint_final.pth")


def plans_for(name, spacing_mm, size):
    """An nnU-Net plans file for a network of this size and spacing."""
    stages = len(size["features"])
    resampling = "resample_data_or_seg_to_shape"
    orders = {"order_z": 0, "force_separate_z": None}
    network = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": size["features"],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
            "n_conv_per_stage": [size["convolutions"]] * stages,
            "n_conv_per_stage_decoder": [size["convolutions"]] * (stages - 1),
            "conv_bias": True,
            "norm_op": None,
            "norm_op_kwargs": {},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    intensities = {
        "max": 3000.0,
        "mean": 0.0,
        "median": 0.0,
        "min": -1024.0,
        "percentile_00_5": -WINDOW_HU,
        "percentile_99_5": WINDOW_HU,
        "std": SCALE_HU,
    }
    return {
        "dataset_name": name,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [spacing_mm] * 3,
        "original_median_shape_after_transp": [120, 120, 120],
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": size["patch"],
                "median_image_size_in_voxels": [120.0, 120.0, 120.0],
                "spacing": [spacing_mm] * 3,
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "resampling_fn_data": resampling,
                "resampling_fn_seg": resampling,
                "resampling_fn_probabilities": resampling,
                "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **orders},
                "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **orders},
                "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **orders},
                "architecture": network,
                "batch_dice": True,
            }
        },
    }


def weights_for(plans, dataset):
    """The network's parameters, set by hand."""
    manager = PlansManager(plans)
    configuration = manager.get_configuration("3d_fullres")
    network = nnUNetTrainer.build_network_architecture(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        1,
        manager.get_label_manager(dataset).num_segmentation_heads,
        enable_deep_supervision=False,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first, *others = _convolutions(network.encoder.stages[0])
        first.weight[0, 0] = torch.tensor(NEIGHBOURS)
        first.bias[0] = LIFT
        # The decoder's last stage sees its own features first and those of the encoder's first
        # stage after them.
        joined, *more = _convolutions(network.decoder.stages[-1])
        joined.weight[0, joined.in_channels // 2, 1, 1, 1] = 1
        for convolution in (*others, *more):
            convolution.weight[0, 0, 1, 1, 1] = 1
        head = network.decoder.seg_layers[-1]
        head.bias[:] = -400
        head.bias[0] = 0.0  # air
        offset = 0.0
        for step, (lower_hu, label) in enumerate(BANDS, start=1):
            # Lines of growing slope that cross where the bands meet.
            offset += lower_hu / SCALE_HU + LIFT
            head.weight[dataset["labels"][label], 0] = SHARPNESS * step
            head.bias[dataset["labels"][label]] = -SHARPNESS * offset
    return network.state_dict()


def _convolutions(module):
    return [m for m in module.modules() if isinstance(m, torch.nn.Conv3d)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("task_id", nargs="?", type=int, default=297)
    parser.add_argument("--full-size", action="store_true")
    options = parser.parse_args()
    main(options.folder, options.task_id, FULL_SIZE if options.full_size else SMALL)
