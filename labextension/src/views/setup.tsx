/** What is configured, and whether it works. */
import * as React from 'react';

import { Model } from '../model';
import { Badge, Doing, Empty, Facts, Loading, Problem, useWords } from './bits';

export function SetupView(props: { model: Model }): JSX.Element {
  const { model } = props;
  const trans = useWords();
  const { data, error } = model.project;
  if (error && !data) {
    return <Problem error={error} again={() => void model.readProject()} />;
  }
  if (!data) {
    return <Loading what={trans.__('Reading the settings')} />;
  }
  const probes = model.probes;
  return (
    <>
      {!data.initialized ? (
        <Empty title={trans.__('This folder is no project yet')}>
          <p>
            {trans.__(
              'One step writes mlops.toml and a local GitOps repository: runs, registry, pull requests and rollbacks then work on this machine. It can be changed to a cluster and a forge later.'
            )}
          </p>
          <Doing
            tone="accept"
            label={trans.__('Set up this folder')}
            busy={trans.__('Setting up …')}
            act={() => model.initialize()}
          />
        </Empty>
      ) : (
        <h3 className="mlops-Heading">{data.name}</h3>
      )}
      <Facts
        rows={[
          [trans.__('folder'), data.folder],
          [trans.__('tracking'), data.tracking],
          [trans.__('runs go to'), data.executors.join(', ')],
          [trans.__('Kubeflow'), data.kubeflow],
          [
            trans.__('GitOps'),
            data.repository ? `${data.repository} (${data.forge})` : ''
          ],
          [trans.__('environments'), data.environments.map(one => one.name).join(', ')]
        ]}
      />
      <div className="mlops-Actions">
        <Doing
          label={trans.__('Check every part')}
          busy={trans.__('Checking …')}
          act={() => model.diagnose()}
        />
      </div>
      {probes.error && <Problem error={probes.error} />}
      {probes.data && (
        <ul className="mlops-Probes" aria-label={trans.__('Checks')}>
          {probes.data.map(probe => (
            <li key={probe.name} className="mlops-Card">
              <div className="mlops-Card-title">
                {probe.name}
                <Badge tone={probe.ok ? 'good' : 'bad'} mark={probe.ok ? '✔' : '✘'}>
                  {probe.ok ? trans.__('works') : trans.__('does not work')}
                </Badge>
              </div>
              <p className="mlops-Card-text">{probe.detail}</p>
              {probe.hint && <p className="mlops-Problem-next">→ {probe.hint}</p>}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
