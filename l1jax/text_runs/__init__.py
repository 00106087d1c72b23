"""What the commands do with a training run of text: samples and measurements."""
