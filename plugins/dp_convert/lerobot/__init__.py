"""LeRobot: its diffusion policy's checkpoints, and the image encoder that they need."""
