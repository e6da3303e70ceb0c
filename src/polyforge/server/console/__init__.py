"""The console: the files that its build left in `static`, and how they are served. The sources are in `console/`."""
