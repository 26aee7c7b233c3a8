"""What the integers cost, image by image: `fqvit-hw accuracy` and `fqvit-hw ablation`."""
