"""The modality audio: its checks, features and params."""
