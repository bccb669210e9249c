# Slicer writes its extension description and package here.
