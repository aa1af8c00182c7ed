"""The plugin of iNNvestigate 2: `register` makes our analyzers known to it."""

from __future__ import annotations


def register() -> None:
    """Makes RAP, contrastive RAP, PatternNet and PatternAttribution analyzers of iNNvestigate.

    From then on our NotAnalyzeableModelException is one of iNNvestigate's, so that programs catch it as ever.

    Raises:
        ImportError: iNNvestigate is not installed.
    """
    import innvestigate.analyzer

    from rap_keras.engine.errors import NotAnalyzeableModelException
    from rap_keras.hosts.plugin.analyzer import RAP, ContrastiveRAP
    from rap_keras.hosts.plugin.pattern_analyzers import PatternAttribution, PatternNet

    NotAnalyzeableModelException.__bases__ = (innvestigate.NotAnalyzeableModelException,)
    classes = {
        "rap": RAP,
        "rap.contrastive": ContrastiveRAP,
        "pattern.net": PatternNet,
        "pattern.attribution": PatternAttribution,
    }
    for name, cls in classes.items():
        innvestigate.analyzer.analyzers[name] = cls
        # AnalyzerBase.load looks classes up here, by name.
        setattr(innvestigate.analyzer, cls.__name__, cls)


def names() -> list[str]:
    """The names of all methods of iNNvestigate, ours among them.

    The command `rap-keras` has not registered ours before, since it prints its help without iNNvestigate.
    """
    import innvestigate.analyzer

    register()
    return list(innvestigate.analyzer.analyzers)
