"""One page, HTML and Markdown, of all measurements in a folder (`fqvit-hw report`)."""
