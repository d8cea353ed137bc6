"""Read what the metadata inside images, audio and video says of their use: XMP packets and C2PA manifests."""
