"""Networks through which gradients flow: losses, shared and frozen weights, saliency."""

from __future__ import annotations

from tests.wild.text import Text


def train_val() -> str:
    """Losses, an auxiliary head and accuracy; gradients flow."""
    net = Text("train_val style", 3, 96)
    net.add("Input", [], "input_param { shape { dim: 1 } }", "label")
    net.top = "data"
    net.conv(32, 5, "pad: 2")
    net.inplace("ReLU")
    net.pool("MAX", 3, 2)
    net.conv(48, 5, "pad: 2")
    middle = net.inplace("ReLU")
    net.dense(10)
    net.add("SoftmaxWithLoss", [net.top, "label"], "loss_weight: 0.3")
    net.top = middle
    net.pool("AVE", 3, 2)
    net.conv(64, 3)
    net.inplace("Sigmoid")
    net.dense(256)
    net.inplace("TanH")
    scores = net.dense(10)
    net.add("Accuracy", [scores, "label"])
    net.add("SoftmaxWithLoss", [scores, "label"])
    return net.text()


def frozen_fine_tuning() -> str:
    """Learning rates of 0 below, a loss above: gradients stop half way."""
    net = Text("frozen style", 3, 112)
    net.add("Input", [], "input_param { shape { dim: 1 dim: 40 } }", "target")
    net.top = "data"
    for outputs in (32, 64):
        body = f"convolution_param {{ num_output: {outputs} kernel_size: 3 pad: 1 }}"
        net.add("Convolution", None, f"param {{ lr_mult: 0 }} param {{ lr_mult: 0 }} {body}")
        net.inplace("ReLU")
        net.pool("MAX", 2, 2)
    net.conv(64, 3, "pad: 1")
    net.add("ELU")
    net.pool("MAX", 2, 2)
    net.dense(512)
    net.inplace("Dropout")
    net.dense(40)
    net.add("SigmoidCrossEntropyLoss", [net.top, "target"])
    return net.text()


def autoencoder() -> str:
    """Deconvolutions back to the image, and a Euclidean loss against it."""
    net = Text("autoencoder style", 3, 128)
    net.conv(32, 3, "pad: 1 stride: 2")
    net.inplace("ReLU")
    net.conv(64, 3, "pad: 1 stride: 2")
    net.inplace("ReLU")
    for outputs in (32, 3):
        net.add(
            "Deconvolution",
            None,
            f"convolution_param {{ num_output: {outputs} kernel_size: 4 stride: 2 pad: 1 }}",
        )
    net.add("Sigmoid")
    net.add("EuclideanLoss", [net.top, "data"])
    return net.text()


def siamese() -> str:
    """Two branches with shared weights and a contrastive loss."""
    net = Text("siamese style", 2, 80)
    net.add("Input", [], "input_param { shape { dim: 1 } }", "same")
    net.add("Slice", ["data"], "slice_param { slice_dim: 1 slice_point: 1 }", "left", "right")
    features = []
    for source in ("left", "right"):
        net.top = source
        shared = 'param { name: "w1" } param { name: "b1" }'
        net.add(
            "Convolution", None, f"{shared} convolution_param {{ num_output: 20 kernel_size: 5 }}"
        )
        net.pool("MAX", 2, 2)
        shared = 'param { name: "w2" } param { name: "b2" }'
        net.add("InnerProduct", None, f"{shared} inner_product_param {{ num_output: 500 }}")
        net.inplace("ReLU")
        features.append(net.dense(2))
    net.add("ContrastiveLoss", [*features, "same"])
    return net.text()


def forced_backward() -> str:
    """force_backward, as for saliency maps."""
    net = Text("saliency style", 3, 128, "force_backward: true")
    for outputs in (48, 96):
        net.conv(outputs, 3, "pad: 1")
        net.inplace("ReLU")
        net.pool("MAX", 2, 2)
    net.add("LRN")
    net.conv(64, 1)
    net.add("Concat", [net.top, net.top])
    net.dense(50)
    net.add("Softmax")
    return net.text()
