from django.apps import AppConfig


class DatasetsConfig(AppConfig):
    name = "datasets"
    verbose_name = "Datasets"

    def ready(self) -> None:
        from audit.files import keep_files_in
        from datasets.data_root import data_root

        keep_files_in(data_root)
