# Written by `make catalog` from src/import/catalog.rs: do not edit.
# Values of DATASET for `make train`, and for `make data`.
TRAINABLE := synthetic omniglot mini tiered cifar-fs fc100 cub
IMPORTABLE := omniglot mini tiered cifar-fs fc100 cub idx folder embeddings
# The pack of each data set, and its default experiment.
PACK_synthetic := data/synthetic.safetensors
EXPERIMENT_synthetic := experiments/synthetic.yaml
PACK_omniglot := data/omniglot.safetensors
EXPERIMENT_omniglot := experiments/table1/omniglot-1shot-8ch.yaml
PACK_mini := data/mini-imagenet.safetensors
EXPERIMENT_mini := experiments/table1/mini-imagenet-1shot-8ch.yaml
PACK_tiered := data/tiered-imagenet.safetensors
EXPERIMENT_tiered := experiments/table1/tiered-imagenet-1shot-8ch.yaml
PACK_cifar-fs := data/cifar-fs.safetensors
EXPERIMENT_cifar-fs := experiments/other/cifar-fs-1shot-8ch.yaml
PACK_fc100 := data/fc100.safetensors
EXPERIMENT_fc100 := experiments/other/fc100-1shot-8ch.yaml
PACK_cub := data/cub.safetensors
EXPERIMENT_cub := experiments/other/cub-1shot-8ch.yaml
PACK_idx := data/idx.safetensors
PACK_folder := data/folder.safetensors
PACK_embeddings := data/tiered-imagenet-leo.safetensors
