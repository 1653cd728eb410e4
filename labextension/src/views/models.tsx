/** Registered models. */
import * as React from 'react';

import { ModelVersion } from '../generated/documents';
import { Model } from '../model';
import { when } from '../text';
import { Badge, Button, Empty, Facts, Loading, Problem, useWords } from './bits';

export function ModelsView(props: { model: Model }): JSX.Element {
  const { model } = props;
  const trans = useWords();
  const { data, error, loading } = model.models;
  if (error && !data) {
    return <Problem error={error} again={() => void model.readModels()} />;
  }
  if (!data) {
    return loading ? <Loading what={trans.__('Reading the registry')} /> : <div />;
  }
  if (!data.length) {
    return (
      <Empty title={trans.__('No models yet')}>
        <p>{trans.__('Register one from a run that succeeded.')}</p>
        <Button tone="accept" onClick={() => model.show('runs')}>
          {trans.__('See the runs')}
        </Button>
      </Empty>
    );
  }
  const names = [...new Set(data.map(version => version.name))];
  return (
    <>
      {error && <Problem error={error} again={() => void model.readModels()} />}
      {names.map(name => (
        <section key={name} aria-label={name}>
          <h3 className="mlops-Heading">{name}</h3>
          {data
            .filter(version => version.name === name)
            .map(version => (
              <Version key={version.version} model={model} version={version} />
            ))}
        </section>
      ))}
    </>
  );
}

function Version(props: { model: Model; version: ModelVersion }): JSX.Element {
  const { model, version } = props;
  const trans = useWords();
  const name = `${version.name}/${version.version}`;
  const tags = version.tags;
  const deployed = Object.entries(tags).filter(([tag]) =>
    tag.startsWith('mlops_nb.deployed.')
  );
  return (
    <div className="mlops-Card">
      <div className="mlops-Card-title">
        {name}
        {version.aliases.map(alias => (
          <Badge key={alias} tone="busy" mark="@">
            {alias}
          </Badge>
        ))}
        {version.uses_pickle && (
          <Badge tone="warn" mark="⚠">
            pickle
          </Badge>
        )}
      </div>
      <Facts
        rows={[
          [trans.__('registered'), when(version.created)],
          [
            trans.__('run'),
            version.run && (
              <Button tone="quiet" onClick={() => void model.look(version.run)}>
                {version.run}
              </Button>
            )
          ],
          ...deployed.map(
            ([tag, what]) =>
              [tag.replace('mlops_nb.deployed.', ''), what] as [string, string]
          )
        ]}
      />
      <details>
        <summary>{trans.__('Lineage')}</summary>
        <Facts
          rows={[
            [trans.__('notebook'), tags['mlops_nb.notebook'] ?? ''],
            [trans.__('commit'), tags['mlflow.source.git.commit'] ?? ''],
            [trans.__('repository'), tags['mlflow.source.git.repoURL'] ?? ''],
            [trans.__('digest'), version.digest],
            [trans.__('flavor'), version.flavor],
            [trans.__('files'), version.source]
          ]}
        />
      </details>
      <div className="mlops-Actions">
        <Button
          disabled={!model.project.data?.environments.length}
          onClick={() => model.propose(name)}
        >
          {trans.__('Deploy …')}
        </Button>
      </div>
    </div>
  );
}
