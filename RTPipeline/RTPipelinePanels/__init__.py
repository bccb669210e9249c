"""Sections of the module "RT Pipeline" that need the packages of the pipeline."""
