"""The command line, one file a command; nothing here imports gradio but `serve`."""
