"""The commands of `rtpipeline`, one module each: `add_arguments(parser)` and `main(arguments) ->
status`.

Modules import their heavy parts inside `main`, so that `rtpipeline --help` stays quick.
"""

ALL_DONE, BUG, NOTHING_DONE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
