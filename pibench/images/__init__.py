"""Build, store, verify and move the images that emulated targets run."""
