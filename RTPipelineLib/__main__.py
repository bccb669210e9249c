"""`python -m RTPipelineLib ...` is the same as `rtpipeline ...`."""

import sys

from RTPipelineLib.cli import main

if __name__ == "__main__":
    sys.exit(main())
