"""The modality video: its checks, features and params."""
