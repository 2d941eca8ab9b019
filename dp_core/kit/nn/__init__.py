"""Parts of networks and checks of them that encoders and denoisers of several plugins share."""
