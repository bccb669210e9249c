"""A cohort as its window shows it: a run in the background, a form of the configuration, rows to
sort and filter, and the queue of courses to review. No widgets and no MRML here."""
