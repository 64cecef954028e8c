"""The project file: what it may say (`models`), and how it is read (`load`)."""
