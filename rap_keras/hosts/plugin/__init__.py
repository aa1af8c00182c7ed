"""The plugin for iNNvestigate 2: `register` adds our analyzers to it."""

from __future__ import annotations


def register() -> None:
    """Adds RAP, contrastive RAP, PatternNet and PatternAttribution to iNNvestigate's analyzers.

    From then on our NotAnalyzeableModelException is a subclass of iNNvestigate's, so programs that catch that one
    catch ours, too.

    Raises:
        ImportError: iNNvestigate is not installed.
    """
    import innvestigate.analyzer

    from rap_keras.engine.errors import NotAnalyzeableModelException
    from rap_keras.hosts.plugin.analyzer import RAP, ContrastiveRAP, PatternAttribution, PatternNet

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
    """The names of all methods of iNNvestigate, including ours.

    Ours are registered here, since the command `rap-keras`, which prints its help without iNNvestigate, has not
    done so.
    """
    import innvestigate.analyzer

    register()
    return list(innvestigate.analyzer.analyzers)
