"""Automatic contours: TotalSegmentator and nnU-Net models, each a program of its own.

`catalogue` knows what the installed programs offer, `models` what the user asked for, `programs`
how to call them, `watch` keeps them within their limits, `labels` reads what they wrote and says
whether it is complete, `postprocess` cleans it, `regions` tells which part of a body is shown.
"""
