"""Other people's pipelines, in diffusers' format."""
