"""The one validated configuration, read from YAML.

`load_config` reads a file and reports everything that is wrong with it, with line and key;
`defaults_yaml` is the commented file to start from. The keys themselves stand in `keys.py`.
"""

from __future__ import annotations

from .keys import Config
from .reading import load_config
from .writing import defaults_yaml

__all__ = ["Config", "defaults_yaml", "load_config"]
