"""What the integers cost, image by image: `fqvit-hw accuracy`, `ablation`, `frontier`."""
