"""The modality text: its checks, features and params."""
