"""The encoder of point clouds: a small PointNet."""
