"""Real images, sounds and points, from files to the batches of each step.

- `source` says what a data set is: a `Source` makes examples by index. `opening` opens the one
  that a configuration names, with the functions of `array_source`, `digits_source`,
  `audio_source`, `idx_source`, `image_source`, `mixture_source`, `tfds_source` and
  `tones_source`.
- `image_files` lists the images of a folder, tar or zip (`folders`, `tars`, `zips`,
  `archive_members`, `formats`); `decoding` and `preprocessing` make pixels of them; `class_labels`
  makes labels of their folders. `recordings` and
  `spectrograms` make images of recordings, which are listed in the same way.
- `cache` keeps decoded images, and `splits` holds out a share of the examples.
- `batches` and `streaming` make the batches, in an order that is a function of seed and step.
- `augmentation` changes images at random inside the compiled step.

To add a kind of data, add its dataclass to `l1jax.config.data`, write a function that turns it
into a `Source`, and call that in `opening`.
"""
