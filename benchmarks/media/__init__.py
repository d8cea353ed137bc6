"""Files of images, audio, video and text, read into batches by this project and by its peers: one file a reader."""
