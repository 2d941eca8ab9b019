"""The observation encoder of robomimic."""
