from duomem_mlx.cli.main import run

run()
