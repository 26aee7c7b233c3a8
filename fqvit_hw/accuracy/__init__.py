"""`fqvit-hw accuracy`: what the integers cost, image by image."""
