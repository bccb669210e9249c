"""The sections of the module "RT Pipeline Cohort", one class each: configuration, run, courses,
review, results. They show and ask; what they do is done by the module's logic."""
