"""The sections of the module "RT Pipeline Cohort", one class each: configuration, courses,
review, results (that of runs is the library's). They show and ask; what they do is done by the module's logic."""
