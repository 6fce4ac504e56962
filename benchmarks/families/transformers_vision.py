"""Models over images and sounds, and those over images and text."""

from __future__ import annotations

from families.transformers_inputs import numbers, padded_pixels, pixels, renamed, together, tokens, waves
from families.transformers_rows import IMAGES, row

FEW = {"num_hidden_layers": 3}
TWO = {"encoder_layers": 2, "decoder_layers": 2}
PADDED = padded_pixels(160, 192)
B0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}
DEPTH = {"num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "image_size": 96}

ENCODERS = [
    row("vit", "ViTModel", pixels(), **FEW),
    row("vit-dynamic", "ViTModel", pixels(batches=(2, 1, 8, 3)), **FEW, dynamic=IMAGES),
    row("vit-classifier", "ViTForImageClassification", pixels(), "ViTConfig", **FEW),
    row("deit", "DeiTModel", pixels(), **FEW),
    row("beit", "BeitModel", pixels(), **FEW),
    row("data2vec-vision", "Data2VecVisionModel", pixels(), **FEW),
    row("dinov2", "Dinov2Model", pixels(), **FEW),
    row("dinov2-other-size", "Dinov2Model", pixels(112, 140), **FEW),
    row("dinov2-registers", "Dinov2WithRegistersModel", pixels(), **FEW),
    row("dinov3", "DINOv3ViTModel", pixels(), **FEW),
    row("vitdet", "VitDetModel", pixels(), **FEW),
    row("swin", "SwinModel", pixels()),
    row("swinv2", "Swinv2Model", pixels()),
    row("hiera", "HieraModel", pixels(), initializer_range=0.2),
    row("convnext", "ConvNextModel", pixels()),
    row("convnextv2", "ConvNextV2Model", pixels()),
    row("focalnet", "FocalNetModel", pixels()),
    row("cvt", "CvtModel", pixels(), depth=[1, 2, 3]),
    row("pvt", "PvtModel", pixels()),
    row("levit", "LevitModel", pixels(), measured=True),
    row("poolformer", "PoolFormerModel", pixels()),
    row("mobilevit", "MobileViTModel", pixels(256), measured=True),
    row("mobilevitv2", "MobileViTV2Model", pixels(256), measured=True),
    row("mobilenet-v2", "MobileNetV2Model", pixels(), measured=True),
    row("efficientnet", "EfficientNetModel", pixels(), **B0, measured=True),
    row("resnet", "ResNetModel", pixels()),
    row("regnet", "RegNetModel", pixels()),
]

TASKS = [
    row("segformer", "SegformerForSemanticSegmentation", pixels(128, 160), "SegformerConfig"),
    row("upernet", "UperNetForSemanticSegmentation", pixels(128), "UperNetConfig"),
    row("dpt", "DPTForSemanticSegmentation", pixels(96), "DPTConfig", **DEPTH),
    row(
        *("depth-anything", "DepthAnythingForDepthEstimation", pixels(70, 98), "DepthAnythingConfig"),
        depth_estimation_type="metric",
        max_depth=20,
        initializer_range=0.1,
    ),
    row("glpn", "GLPNForDepthEstimation", pixels(128), "GLPNConfig"),
    row("yolos", "YolosForObjectDetection", pixels(128, 160), "YolosConfig", **FEW, image_size=[128, 160]),
    row("yolos-other-size", "YolosForObjectDetection", pixels(96, 128), "YolosConfig", **FEW, image_size=[128, 160]),
    row("detr", "DetrForObjectDetection", PADDED, "DetrConfig", **TWO),
    row(
        "conditional-detr", "ConditionalDetrForObjectDetection", padded_pixels(160, 192), "ConditionalDetrConfig", **TWO
    ),
    row("deformable-detr", "DeformableDetrForObjectDetection", padded_pixels(160, 192), "DeformableDetrConfig", **TWO),
    row(
        "table-transformer",
        "TableTransformerForObjectDetection",
        padded_pixels(160, 192),
        "TableTransformerConfig",
        **TWO,
    ),
    # Weights that are large enough, and queries few enough, for no two of the best scores to be nearly alike.
    row(
        *("rt-detr", "RTDetrForObjectDetection", pixels(160), "RTDetrConfig"),
        **{"decoder_layers": 2, "num_queries": 20, "initializer_range": 0.2},
    ),
    row("maskformer", "MaskFormerForInstanceSegmentation", pixels(128), "MaskFormerConfig"),
    row("mask2former", "Mask2FormerForUniversalSegmentation", pixels(128), "Mask2FormerConfig", **TWO),
    row(
        *("sam-vision", "SamVisionModel", pixels(256), "SamVisionConfig"),
        **{**FEW, "image_size": 256, "global_attn_indexes": [1], "initializer_range": 0.02},
    ),
]

CLIP_END = 49407
CLIP_TOKENS = tokens(pad=CLIP_END, end=CLIP_END)

TOWERS = [
    row("clip-text", "CLIPTextModel", CLIP_TOKENS, **FEW),
    row("clip-vision", "CLIPVisionModel", pixels(), **FEW),
    row("clip", "CLIPModel", together(CLIP_TOKENS, pixels()), text_config=FEW, vision_config=FEW),
    row("siglip-text", "SiglipTextModel", tokens(pad=1), **FEW, vocab_size=2000),
    row("siglip-vision", "SiglipVisionModel", pixels(), **FEW),
    row("owlvit-vision", "OwlViTVisionModel", pixels(256), **FEW, image_size=256),
    row("blip-vision", "BlipVisionModel", pixels(192), **FEW, image_size=192, initializer_range=0.02),
]

SOUND = [
    row("wav2vec2", "Wav2Vec2Model", waves(), **FEW),
    row("wav2vec2-ctc", "Wav2Vec2ForCTC", waves(), "Wav2Vec2Config", **FEW),
    row("hubert", "HubertModel", waves(), **FEW),
    row("wavlm", "WavLMModel", waves(), **FEW),
    row("sew", "SEWModel", waves(), **FEW),
    row("ast", "ASTModel", numbers("input_values", 256, 128), **FEW, max_length=256),
    row(
        *("encodec-encoder", "EncodecModel", renamed(numbers("input_values", 1, 4000), input_values="hidden_states")),
        part="encoder",
    ),
]

EXAMPLES = [*ENCODERS, *TASKS, *TOWERS, *SOUND]
