"""From files to models: ours, those that come with the project, the earlier codebases'."""
