/** Deployments: what Git says, what the cluster runs, and what is to come. */
import { InputDialog } from '@jupyterlab/apputils';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import * as React from 'react';

import { Analysis, Deployed, Rollout, Status } from '../generated/documents';
import { IProposal, Model } from '../model';
import { number, STAGES, when } from '../text';
import {
  Badge,
  Button,
  Doing,
  Empty,
  Field,
  Loading,
  Problem,
  TextField,
  useWords
} from './bits';
import { agreed } from './runs';

export function DeploymentsView(props: {
  model: Model;
  rendermime: IRenderMimeRegistry | null;
}): JSX.Element {
  const { model } = props;
  const trans = useWords();
  const project = model.project.data;
  if (model.proposal) {
    return (
      <Proposal model={model} proposal={model.proposal} rendermime={props.rendermime} />
    );
  }
  if (project && !project.forge) {
    return (
      <Empty title={trans.__('There is no GitOps repository yet')}>
        <Button tone="accept" onClick={() => model.show('setup')}>
          {trans.__('Set it up')}
        </Button>
      </Empty>
    );
  }
  const { data, error, loading } = model.statuses;
  return (
    <>
      {error && <Problem error={error} again={() => void model.readStatuses()} />}
      {!data && loading && <Loading what={trans.__('Asking Git and the cluster')} />}
      {data && !data.length && (
        <Empty title={trans.__('Nothing is deployed or proposed')}>
          <Button tone="accept" onClick={() => model.show('models')}>
            {trans.__('Choose a model')}
          </Button>
        </Empty>
      )}
      {data?.map(status => (
        <Deployment
          key={`${status.model} ${status.environment}`}
          model={model}
          status={status}
        />
      ))}
      <History model={model} />
    </>
  );
}

function Deployment(props: { model: Model; status: Status }): JSX.Element {
  const { model, status } = props;
  const trans = useWords();
  const [mark, tone] = STAGES[status.stage];
  const where = { model: status.model, env: status.environment };
  const may = new Set(status.actions);
  const pull = status.pull_request;
  const name = `${status.model} · ${status.environment}`;
  const take = async (asked: Promise<unknown>) => {
    model.takeStatus((await asked) as Status);
  };
  return (
    <section className="mlops-Card" aria-label={name}>
      <div className="mlops-Card-title">
        {name}
        <Badge tone={tone} mark={mark}>
          {status.stage}
        </Badge>
      </div>
      <p className="mlops-Card-text" aria-live="polite">
        {status.drift || status.summary}
      </p>
      {status.rollout && <Canary rollout={status.rollout} />}
      {status.trouble && <p className="mlops-Field-error">✘ {status.trouble}</p>}
      {pull && (
        <p className="mlops-Card-text">
          {pull.url.startsWith('http') ? (
            <a className="mlops-Link" href={pull.url} target="_blank" rel="noreferrer">
              #{pull.number} {pull.title}
            </a>
          ) : (
            `#${pull.number} ${pull.title}`
          )}
        </p>
      )}
      <div className="mlops-Actions">
        {pull && (
          <Doing
            tone="accept"
            label={trans.__('Merge #%1', String(pull.number))}
            act={async () => {
              const sure = await agreed(
                trans.__('Merge #%1?', String(pull.number)),
                trans.__(
                  '%1: %2 follows what is merged.',
                  pull.title,
                  status.environment
                ),
                trans.__('Merge')
              );
              if (sure) {
                await model.merge(pull.number);
              }
            }}
          />
        )}
        {may.has('promote') && (
          <Doing
            label={trans.__('Promote')}
            title={trans.__('Go on to the next step')}
            act={() => take(model.ask('promote', where))}
          />
        )}
        {may.has('promote-full') && (
          <Doing
            label={trans.__('Promote fully')}
            act={async () => {
              const sure = await agreed(
                trans.__('Give it all of the traffic?'),
                trans.__('The steps that are left are not judged.'),
                trans.__('Promote fully')
              );
              if (sure) {
                await take(model.ask('promote', { ...where, full: true }));
              }
            }}
          />
        )}
        {may.has('abort') && (
          <Doing
            tone="warn"
            label={trans.__('Abort …')}
            act={async () => {
              const told = await InputDialog.getText({
                title: trans.__('Abort the canary of %1?', status.model),
                label: trans.__('Why, for the record'),
                okLabel: trans.__('Abort')
              });
              if (told.button.accept) {
                await take(model.ask('abort', { ...where, reason: told.value ?? '' }));
              }
            }}
          />
        )}
        {may.has('retry') && (
          <Doing
            label={trans.__('Try again')}
            act={() =>
              take(model.ask('retry', { run: status.model, env: status.environment }))
            }
          />
        )}
        {status.version > 0 && (
          <Button
            onClick={() =>
              model.propose(status.model, { environment: status.environment })
            }
          >
            {trans.__('Roll back …')}
          </Button>
        )}
      </div>
    </section>
  );
}

function Canary(props: { rollout: Rollout }): JSX.Element {
  const { rollout } = props;
  const trans = useWords();
  const share = rollout.is_aborted ? 0 : rollout.weight;
  const newest = rollout.analyses.slice(-1)[0];
  return (
    <>
      <div
        className="mlops-Canary"
        role="meter"
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={share}
        aria-label={trans.__(
          'Traffic of %1, step %2 of %3',
          String(rollout.wanted.version),
          String(Math.min(rollout.step + 1, rollout.steps)),
          String(rollout.steps)
        )}
      >
        <div className="mlops-Canary-new" style={{ width: `${share}%` }} />
      </div>
      <p className="mlops-Field-help">
        {trans.__(
          '%1 % to %2, %3 % to %4',
          String(share),
          String(rollout.wanted.version || '?'),
          String(100 - share),
          String(rollout.stable?.version ?? '–')
        )}
        {rollout.steps > 0 &&
          ` · ${trans.__('step %1 of %2', String(Math.min(rollout.step + 1, rollout.steps)), String(rollout.steps))}`}
      </p>
      {newest && <Measured analysis={newest} />}
    </>
  );
}

function Measured(props: { analysis: Analysis }): JSX.Element {
  const { analysis } = props;
  const trans = useWords();
  const tones: Record<string, [string, string]> = {
    Successful: ['good', '✔'],
    Failed: ['bad', '✘'],
    Error: ['bad', '✘'],
    Inconclusive: ['warn', '■'],
    Running: ['busy', '▶']
  };
  return (
    <div className="mlops-Scroll" tabIndex={0}>
      <table className="mlops-Table" aria-label={trans.__('Analysis')}>
        <tbody>
          {analysis.metrics.map(each => (
            <tr key={each.metric} title={each.query}>
              <th scope="row">{each.metric}</th>
              <td>{each.judged || number(each.value)}</td>
              <td>
                <Badge tone={tones[each.phase][0]} mark={tones[each.phase][1]}>
                  {each.is_dry_run ? trans.__('observed') : each.phase}
                </Badge>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function History(props: { model: Model }): JSX.Element | null {
  const { model } = props;
  const trans = useWords();
  const { data, error } = model.history;
  if (error) {
    return <Problem error={error} again={() => void model.readHistory()} />;
  }
  if (!data?.length) {
    return null;
  }
  const versions = (each: Deployed) =>
    [each.previous, each.version].filter(one => one).join(' → ');
  return (
    <details className="mlops-Section">
      <summary>{trans.__('History')}</summary>
      <ol className="mlops-History">
        {data.map(each => (
          <li key={`${each.commit}${each.environment}${each.model}`}>
            <b>
              {each.action} {each.model} {versions(each)}
            </b>{' '}
            {trans.__('in %1', each.environment)}
            <div className="mlops-Field-help">
              {when(each.when)} ·{' '}
              {trans.__('asked by %1', each.requested_by.split(' <')[0])}
              {each.pull_request ? ` · #${each.pull_request}` : ''}
              {each.reason ? ` · ${each.reason}` : ''}
            </div>
          </li>
        ))}
      </ol>
    </details>
  );
}

function Proposal(props: {
  model: Model;
  proposal: IProposal;
  rendermime: IRenderMimeRegistry | null;
}): JSX.Element {
  const { model, proposal } = props;
  const trans = useWords();
  const back = proposal.action === 'rollback';
  const { data, error, loading } = proposal.preview;
  const environment = model.project.data?.environments.find(
    one => one.name === proposal.environment
  );
  const stale = { data: null, error: null, loading: false };
  const nothing = data !== null && !Object.keys(data.files).length;
  return (
    <section aria-label={trans.__('Proposal')}>
      <Button tone="quiet" onClick={() => model.closeProposal()}>
        ← {trans.__('Deployments')}
      </Button>
      <h3 className="mlops-Heading">
        {back
          ? trans.__('Roll back %1', proposal.model)
          : trans.__('Deploy %1', proposal.model)}
      </h3>
      {!back && (
        <>
          <Field id="mlops-to" label={trans.__('To')}>
            <select
              id="mlops-to"
              className="mlops-Input"
              value={proposal.environment}
              onChange={event => {
                model.editProposal({ environment: event.target.value, preview: stale });
                void model.preview();
              }}
            >
              {model.project.data?.environments.map(each => (
                <option key={each.name} value={each.name}>
                  {each.name}
                </option>
              ))}
            </select>
          </Field>
          <TextField
            id="mlops-canary"
            label={trans.__('Canary, percent of the traffic')}
            help={trans.__('Rising, up to 100. Empty takes the environment’s own.')}
            placeholder={environment?.weights.join(',')}
            value={proposal.canary}
            set={text => model.editProposal({ canary: text, preview: stale })}
          />
        </>
      )}
      {back && (
        <>
          <TextField
            id="mlops-back-to"
            label={trans.__('To version')}
            help={trans.__('0 is the one before.')}
            number={{ min: 0 }}
            value={String(proposal.to)}
            set={text => model.editProposal({ to: Number(text), preview: stale })}
          />
          <TextField
            id="mlops-reason"
            label={trans.__('Why, for the record')}
            value={proposal.reason}
            set={text => model.editProposal({ reason: text })}
          />
        </>
      )}
      <div className="mlops-Actions">
        <Doing
          label={trans.__('Preview')}
          busy={trans.__('Judging and rendering …')}
          act={() => model.preview()}
        />
        <Doing
          tone="accept"
          label={trans.__('Open the pull request')}
          busy={trans.__('Opening …')}
          disabled={!data || nothing}
          title={trans.__('Nothing is written before')}
          act={() => model.openPull()}
        />
      </div>
      {loading && <Loading what={trans.__('Judging and rendering')} />}
      {error && <Problem error={error} />}
      {nothing && (
        <p className="mlops-Card-text">
          {trans.__('Nothing to change: it is what Git says already.')}
        </p>
      )}
      {data && !nothing && (
        <>
          <Markdown source={data.body} rendermime={props.rendermime} />
          <details className="mlops-Section">
            <summary>
              {trans.__(
                'Manifest diff: %1 files',
                String(Object.keys(data.files).length)
              )}
            </summary>
            <Diff text={data.diff} />
          </details>
        </>
      )}
    </section>
  );
}

/** The change, each line with its sign: it is not told by colour alone. */
export function Diff(props: { text: string }): JSX.Element {
  const trans = useWords();
  const kind = (line: string) => {
    if (line.startsWith('+++') || line.startsWith('---') || line.startsWith('@@')) {
      return 'head';
    }
    return line.startsWith('+') ? 'new' : line.startsWith('-') ? 'gone' : 'same';
  };
  return (
    <pre className="mlops-Diff" tabIndex={0} aria-label={trans.__('Manifest diff')}>
      {props.text.split('\n').map((line, at) => (
        <div key={at} className={`mlops-Diff-${kind(line)}`}>
          {line || ' '}
        </div>
      ))}
    </pre>
  );
}

/** What reviewers will read, as JupyterLab draws and cleans Markdown. */
function Markdown(props: {
  source: string;
  rendermime: IRenderMimeRegistry | null;
}): JSX.Element {
  const { source, rendermime } = props;
  const place = React.useRef<HTMLDivElement>(null);
  React.useEffect(() => {
    const node = place.current;
    if (!node || !rendermime) {
      return;
    }
    const renderer = rendermime.createRenderer('text/markdown');
    // The diff has a place of its own below.
    const shown = source.replace(/<details>[\s\S]*<\/details>/, '');
    const data = rendermime.createModel({ data: { 'text/markdown': shown } });
    void renderer.renderModel(data).then(() => {
      node.replaceChildren(renderer.node);
    });
    return () => renderer.dispose();
  }, [source, rendermime]);
  return rendermime ? (
    <div className="mlops-Evidence" ref={place} />
  ) : (
    <pre className="mlops-Log">{source}</pre>
  );
}
