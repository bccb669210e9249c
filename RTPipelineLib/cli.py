"""The command line: parses, shows errors as one sentence, and ends with the agreed exit status.

0 all done · 1 a bug · 2 bad arguments or configuration, nothing done · 3 finished, but something
failed · 130 interrupted. Messages go to stderr, data to stdout or files.
"""

from __future__ import annotations

import argparse
import io
import logging
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

from . import __version__
from .commands import BUG, INTERRUPTED, NOTHING_DONE, SOME_FAILED, printable
from .errors import OutputError, RTPipelineError, UsageError
from .messages import send_messages

log = logging.getLogger(__name__)

COMMANDS = {
    "run": "a folder of DICOM in, course folders and cohort tables out",
    "index": "read headers; print patients, courses, objects and unreadable files",
    "stage": "run one stage of one course",
    "dvh": "DVH of loose files, no course needed",
    "compare": "structures of two structure sets, by standard name",
    "segment": "automatic contours of one image by TotalSegmentator or an nnU-Net model",
    "radiomics": "features of the structures on one image, by pyradiomics",
    "sum-dose": "add dose files, physically or as EQD2, into one RTDOSE",
    "aggregate": "join all courses of an output folder into results/",
    "report": "write the HTML report of an output folder",
    "status": "what ran, failed or waits for a decision, per course",
    "review": "a verdict on a course or a structure, and the verdicts so far",
    "config": "check a configuration, or print the commented defaults",
    "demo": "make a synthetic cohort as DICOM and run the pipeline on it",
    "validate": "commissioning: closed forms and synthetic patients on this machine",
    "doctor": "what works on this machine, and what to install",
}


class _Parser(argparse.ArgumentParser):
    """Errors in one sentence, with the nearest valid name, and status 2."""

    def error(self, message: str) -> NoReturn:
        message = message.partition(" (choose from")[0]
        self.exit(
            NOTHING_DONE, f"{self.prog}: {message}{self._hint(message)}; see {self.prog} -h\n"
        )

    def _hint(self, message: str) -> str:
        options = [name for action in self._actions for name in action.option_strings]
        for word in re.split(r"[\s':]+", re.sub("argument|invalid", "", message)):  # its own words
            near = get_close_matches(word, options + list(COMMANDS), 1, 0.65)
            if near and near[0] != word:
                return f" (did you mean {near[0]}?)"
        return ""


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the program, and those of its commands by name."""
    parser = _Parser(
        prog="rtpipeline",
        description="Radiotherapy DICOM to linked courses, doses, DVH metrics and cohort tables. "
        "For research use.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rtpipeline {__version__}")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    for name, summary in COMMANDS.items():
        command = subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            allow_abbrev=False,
        )
        _module(name).add_arguments(command)
        output = command.add_argument_group("messages")
        output.add_argument("--quiet", action="store_true", help="errors only")
        output.add_argument("-v", "--verbose", action="store_true", help="details")
        output.add_argument("--log", metavar="F", help="also write all messages to this file")
    return parser, subparsers.choices


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that knows few letters still shows all
            stream.reconfigure(errors="backslashreplace")
    try:
        parser, commands = build_parser()
        parsed, rest = parser.parse_known_args(arguments)
        if rest:  # the command's own parser knows which option was meant
            commands[parsed.command].error(f"unrecognized arguments: {' '.join(rest)}")
    except SystemExit as stop:  # argparse has said what was wrong
        return int(stop.code or 0)
    try:
        _set_up_messages(parsed)
        return _module(parsed.command).main(parsed)
    except (UsageError, OutputError) as error:
        return _fail(error, NOTHING_DONE)
    except RTPipelineError as error:
        return _fail(error, SOME_FAILED)
    except KeyboardInterrupt:
        print("rtpipeline: interrupted; what was done stays valid", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, less) has seen enough
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk, a share that went away
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}", SOME_FAILED)
    except Exception as error:
        log.debug("", exc_info=True)
        detail = "" if parsed.verbose else "; run again with -v for details"
        return _fail(f"internal error: {type(error).__name__}: {error}{detail}", BUG)


def _fail(error: object, status: int) -> int:
    print(printable(f"rtpipeline: {error}"), file=sys.stderr)
    return status


def _module(name: str):
    return import_module(f"{__package__}.commands.{name.replace('-', '_')}")


class _Printable(logging.Formatter):
    """Messages without the control characters that a name in a file may hold."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _set_up_messages(parsed: argparse.Namespace) -> None:
    level = logging.ERROR if parsed.quiet else logging.DEBUG if parsed.verbose else logging.INFO
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(level)
    console.setFormatter(_Printable("%(message)s"))
    handlers: list[logging.Handler] = [console]
    if parsed.log:
        try:
            file = logging.FileHandler(parsed.log, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--log {parsed.log} cannot be written: {error.strerror}") from error
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(file)
    send_messages(handlers)


if __name__ == "__main__":
    sys.exit(main())
