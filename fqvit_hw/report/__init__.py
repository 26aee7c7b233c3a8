"""The page that `fqvit-hw report` makes of a folder of measurements."""
