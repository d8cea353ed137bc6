"""The modality image: its checks, features and params."""
