"""The managed engines: started, watched, stopped, measured."""
