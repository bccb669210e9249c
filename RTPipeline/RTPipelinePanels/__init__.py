"""The sections of the panel of module "RT Pipeline", one file each."""
