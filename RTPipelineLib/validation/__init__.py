"""Commissioning: what this installation computes on this machine, against what is known."""
