"""Stand-in for Slicer's module SampleData: keeps what is registered, with the checks of the real one."""

import os
import types


def build_sample_data_module():
    """A module whose `registered` holds (category, name, downloader)."""
    module = types.ModuleType("SampleData")
    module.registered = []

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(
            category="Custom",
            sampleName=None,
            uris=None,
            fileNames=None,
            nodeNames=None,
            customDownloader=None,
            thumbnailFileName=None,
        ):  # the first parameters of Slicer 5.12
            # None has no length there, and a single text becomes a list of one.
            assert all(isinstance(value, str) for value in (uris, fileNames, nodeNames))
            assert os.path.isfile(thumbnailFileName)
            module.registered.append((category, sampleName, customDownloader))

    module.SampleDataLogic = SampleDataLogic
    return module
