"""timm's models, with random weights: of each of its files the small ones that show what is in it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import timm
import torch

from families import Draw, Example, images


@dataclasses.dataclass(frozen=True)
class Row:
    """A model of timm.

    Attributes:
        name: timm's.
        size: Height and width of the images; by default those of timm's configuration.
        arguments: For `timm.create_model`.
        excluded: As for `Example`.
        gib: As for `Example`.
    """

    name: str
    size: int | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    excluded: str = ""
    gib: float = 4.0


def model(name: str, size: int | None = None, *, excluded: str = "", gib: float = 4.0, **arguments: Any) -> Row:
    """A row of the table below; `arguments` go to `timm.create_model`."""
    return Row(name, size, arguments, excluded, gib)


def smallest(*names: str) -> list[Row]:
    """Rows of models in timm's own configuration."""
    return [Row(name) for name in names]


MODELS: dict[str, list[Row]] = {
    "beit": smallest("beit_base_patch16_224"),
    "byoanet": smallest("halonet_h1", "eca_botnext26ts_256", "lambda_resnet26t", "lambda_resnet26rpt_256"),
    "byobnet": smallest(
        *("test_byobnet", "mobileone_s0", "repvgg_a0", "gernet_s", "resnet50_clip"),
        *("bat_resnext26ts", "eca_resnext26ts", "gcresnext26ts", "seresnext26ts"),
    ),
    "cait": smallest("cait_xxs24_224"),
    "coat": smallest("coat_tiny", "coat_lite_tiny"),
    "convit": smallest("convit_tiny"),
    "convmixer": smallest("convmixer_1024_20_ks9_p14"),
    "convnext": smallest("test_convnext", "test_convnext2", "test_convnext3", "convnext_zepto_rms", "convnextv2_atto"),
    "cpubone": smallest("cpubone_nano"),
    "crossvit": smallest("crossvit_tiny_240", "crossvit_9_dagger_240"),
    "csatv2": [model("csatv2", 256)],
    "cspnet": smallest("cs3darknet_focus_s", "cs3sedarknet_l", "cspresnext50", "darknet17"),
    "cspnext": smallest("cspnext_tiny"),
    "davit": smallest("davit_tiny"),
    "deepseek_vit": [
        model("deepseek_vit_412m", 168, depth=4),
        model("deepseek_vit_412m_enc", 168, depth=4),
    ],
    "deit": smallest("deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224"),
    "densenet": smallest("densenet121", "densenetblur121d"),
    "dla": smallest("dla46x_c", "dla60_res2net"),
    "dpn": smallest("dpn48b", "dpn68"),
    "edgenext": smallest("edgenext_xx_small", "edgenext_small_rw"),
    "efficientformer": smallest("efficientformer_l1"),
    "efficientformer_v2": smallest("efficientformerv2_s0"),
    "efficientnet": smallest(
        *("test_efficientnet", "test_efficientnet_gn", "test_efficientnet_ln", "test_efficientnet_evos"),
        *("mobilenetv1_100", "mobilenetv2_035", "mnasnet_small", "fbnetc_100", "tinynet_e", "efficientnet_es"),
        *("mixnet_s", "tf_mixnet_s", "tf_efficientnetv2_b0", "efficientnet_cc_b0_4e", "efficientnet_blur_b0"),
    ),
    "efficientvim": smallest("efficientvim_m1"),
    "efficientvit_mit": [model("efficientvit_b0"), model("efficientvit_l1", 224)],
    "efficientvit_msra": smallest("efficientvit_m0"),
    "eva": smallest(
        *("eva02_tiny_patch14_224", "vit_tiny_patch16_dinov3_qkvb", "vit_small_patch16_rope_mixed_224"),
        *("vit_pe_core_tiny_patch16_384", "vit_pe_core_base_patch16_224"),
    ),
    "fasternet": smallest("fasternet_t0"),
    "fastvit": smallest("fastvit_t8", "fastvit_sa12", "fastvit_mci0"),
    "focalnet": smallest("focalnet_tiny_srf"),
    "gcvit": smallest("gcvit_xxtiny"),
    "gemma4_vit": [
        model("gemma4_vit_167m", 192, depth=4),
        model("gemma4_vit_167m_enc", 192, depth=4),
    ],
    "ghostnet": smallest("ghostnet_050", "ghostnetv2_100", "ghostnetv3_050"),
    "hardcorenas": smallest("hardcorenas_a"),
    "hgnet": smallest("hgnet_tiny", "hgnetv2_b0"),
    "hiera": smallest("hiera_tiny_224", "hiera_small_abswin_256"),
    "hieradet_sam2": [model("hieradet_small"), model("sam2_hiera_tiny", 256)],
    "hrnet": smallest("hrnet_w18_small"),
    "iformer": smallest("iformer_t"),
    "inception_next": smallest("inception_next_atto"),
    "inception_resnet_v2": smallest("inception_resnet_v2"),
    "inception_v3": smallest("inception_v3"),
    "inception_v4": smallest("inception_v4"),
    "lcnetv2": smallest("lcnetv2_small"),
    "levit": smallest("levit_128s", "levit_conv_128s"),
    "lowformer": smallest("lowformer_b0"),
    "mambaout": smallest("test_mambaout", "mambaout_femto"),
    "maxxvit": smallest(
        *("test_coatnet", "test_maxvit", "coatnet_nano_cc_224", "coatnext_nano_rw_224"),
        *("maxvit_rmlp_pico_rw_256", "maxvit_tiny_pm_256", "maxxvitv2_nano_rw_256"),
    ),
    "metaformer": smallest("poolformer_s12", "poolformerv2_s12", "convformer_s18", "caformer_s18"),
    "mlp_mixer": smallest("mixer_s32_224", "gmixer_12_224", "resmlp_12_224", "gmlp_ti16_224"),
    "mobilenetv3": smallest(
        *("mobilenetv3_small_050", "tf_mobilenetv3_small_075", "lcnet_035", "fbnetv3_b"),
        *("mobilenetv4_conv_small_035", "mobilenetv4_hybrid_medium_075"),
    ),
    "mobilenetv5": smallest("mobilenetv5_base"),
    "mobilevit": smallest("mobilevit_xxs", "mobilevitv2_050"),
    "mvitv2": smallest("mvitv2_tiny", "mvitv2_small_cls"),
    "naflexvit": [
        model("naflexvit_base_patch16_gap", 224),
        model("naflexvit_base_patch16_parfac_gap", 224),
        model("naflexvit_base_patch16_map", 224),
    ],
    "nasnet": smallest("nasnetalarge"),
    "nest": smallest("nest_tiny", "nest_tiny_jx"),
    "nextvit": smallest("nextvit_small"),
    "nfnet": smallest("test_nfnet", "nf_regnet_b0", "nf_resnet26", "eca_nfnet_l0", "dm_nfnet_f0"),
    "pit": smallest("pit_ti_224", "pit_ti_distilled_224"),
    "pnasnet": smallest("pnasnet5large"),
    "pvt_v2": smallest("pvt_v2_b0", "pvt_v2_b2_li"),
    "qwen3_vit": [
        model("qwen3_vit_88m", 224),
        model("qwen3_vit_88m_enc", 224),
    ],
    "rdnet": smallest("rdnet_tiny"),
    "regnet": smallest("regnetx_002", "regnety_002", "regnetz_005", "regnetv_040"),
    "repghost": smallest("repghostnet_050"),
    "repvit": smallest("repvit_m1"),
    "res2net": smallest("res2net50_14w_8s", "res2next50"),
    "resnest": smallest("resnest14d", "resnest50d_1s4x24d"),
    "resnet": smallest(
        *("test_resnet", "resnet10t", "resnet18", "resnet18d", "resnet50_gn", "resnetblur18", "resnetaa34d"),
        *("seresnet18", "ecaresnet26t", "resnext50_32x4d", "resnetrs50"),
    ),
    "resnetv2": smallest(
        "resnetv2_18", "resnetv2_50x1_bit", "resnetv2_50d_gn", "resnetv2_50d_frn", "resnetv2_50d_evos"
    ),
    "rexnet": smallest("rexnet_100", "rexnetr_100"),
    "selecsls": smallest("selecsls42"),
    "senet": smallest("legacy_seresnet18", "legacy_seresnext26_32x4d"),
    "sequencer": smallest("sequencer2d_s"),
    "shvit": smallest("shvit_s1"),
    "sknet": smallest("skresnet18"),
    "starnet": smallest("starnet_s050"),
    "swiftformer": smallest("swiftformer_xs"),
    "swin_transformer": smallest("swin_tiny_patch4_window7_224", "swin_s3_tiny_224"),
    "swin_transformer_v2": smallest("swinv2_tiny_window8_256"),
    "swin_transformer_v2_cr": smallest("swinv2_cr_tiny_224", "swinv2_cr_tiny_ns_224"),
    "tiny_vit": smallest("tiny_vit_5m_224"),
    "tnt": smallest("tnt_s_patch16_224", "tnt_s_legacy_patch16_224"),
    "tresnet": smallest("tresnet_m"),
    "twins": smallest("twins_svt_small", "twins_pcpvt_small"),
    "vgg": smallest("vgg11", "vgg11_bn"),
    "visformer": smallest("visformer_tiny"),
    "vision_transformer": smallest(
        *("test_vit", "test_vit2", "test_vit3", "test_vit4", "vit_tiny_patch16_224", "vit_pwee_patch16_reg1_gap_256"),
        *("vit_dwee_patch16_reg1_gap_256", "vit_small_patch16_18x2_224", "vit_base_patch32_clip_quickgelu_224"),
        "vit_base_patch32_siglip_256",
    ),
    "vision_transformer_hybrid": smallest("vit_tiny_r_s16_p8_224", "vit_small_resnet26d_224"),
    "vision_transformer_relpos": smallest(
        "test_vit_relpos", "vit_srelpos_small_patch16_224", "vit_relpos_small_patch16_rpn_224"
    ),
    "vision_transformer_sam": smallest("samvit_base_patch16_224"),
    "vitamin": smallest("vitamin_small_224"),
    "volo": smallest("volo_d1_224"),
    "vovnet": smallest("ese_vovnet19b_slim_dw", "vovnet39a", "eca_vovnet39b"),
    "xception": smallest("legacy_xception"),
    "xception_aligned": smallest("xception41", "xception41p"),
    "xcit": smallest("xcit_nano_12_p16_224"),
}
"""Models by the file of timm/models that registers them."""


def make(row: Row) -> tuple[torch.nn.Module, Draw]:
    """A model in eval mode, and an image of the size that it is made for."""
    module = timm.create_model(row.name, pretrained=False, **row.arguments).eval()
    channels, height, width = module.pretrained_cfg["input_size"]
    return module, images(1, channels, row.size or height, row.size or width)


def why_not(row: Row) -> str:
    """Why a model isn't counted, if it isn't."""
    return row.excluded if timm.is_model(row.name) else f"timm {timm.__version__} doesn't have it"


def make_unlisted(file: str) -> tuple[torch.nn.Module, Draw]:
    """A failure in the table for a file that isn't in `MODELS`, of a newer timm for one."""
    raise LookupError(f"timm/models/{file}.py registers models, and none of them is in MODELS")


EXAMPLES = [
    Example(f"timm {file}", row.name, functools.partial(make, row), excluded=why_not(row), gib=row.gib)
    for file, rows in MODELS.items()
    for row in rows
] + [
    Example(f"timm {file}", file, functools.partial(make_unlisted, file))
    for file in timm.list_modules()
    if file not in MODELS
]
