"""What evaluations in environments have in common; runners of plugins are built on it.

A runner describes its task as an `environment.Environment` and its episodes as `environment.Start`;
`runner.RolloutRunner` does the rest: windows of observations, many episodes at a time, worker processes, videos, scores
and their intervals. `config.RolloutOptions` are the options of all that. Nothing is imported here, as worker processes
do without torch.
"""
