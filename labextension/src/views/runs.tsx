/** Runs: the list, and one run. */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import * as React from 'react';

import { Run, Scheduled, SweepResult } from '../generated/documents';
import { Model } from '../model';
import { FINAL } from '../reducer';
import { base, MARKS, number, size, TONES, took, when } from '../text';
import {
  Badge,
  Button,
  Doing,
  Empty,
  Facts,
  Gates,
  Loading,
  Problem,
  Sparkline,
  TextField,
  useWords
} from './bits';
import { Comparing } from './compare';

const ROW = 58;
const SPARE = 6;
const MOST_COMPARED = 5;

/** Whether somebody who is asked agrees. */
export async function agreed(
  title: string,
  body: string,
  label: string
): Promise<boolean> {
  const answer = await showDialog({
    title,
    body,
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label })]
  });
  return answer.button.accept;
}

export function RunsView(props: {
  model: Model;
  openNotebook: (run: Run) => Promise<void>;
}): JSX.Element {
  const { model } = props;
  if (model.run.id) {
    return <Looked model={model} openNotebook={props.openNotebook} />;
  }
  if (model.compared.data || model.compared.error) {
    return <Comparing model={model} />;
  }
  return <List model={model} />;
}

function List(props: { model: Model }): JSX.Element {
  const { model } = props;
  const trans = useWords();
  const [text, setText] = React.useState('');
  const { data, error, loading } = model.runs;
  const runs = (data?.runs ?? []).filter(run => matches(run, text));
  const here = base(model.front.path);
  return (
    <div className="mlops-Runs">
      <div className="mlops-Row mlops-Filter" role="search">
        <select
          className="mlops-Input"
          aria-label={trans.__('Whose runs')}
          value={model.filter.all || !here ? 'all' : 'here'}
          onChange={event => model.setFilter({ all: event.target.value === 'all' })}
        >
          {here && <option value="here">{here}</option>}
          <option value="all">{trans.__('all notebooks')}</option>
        </select>
        <select
          className="mlops-Input"
          aria-label={trans.__('State')}
          value={model.filter.state}
          onChange={event => model.setFilter({ state: event.target.value })}
        >
          <option value="">{trans.__('any state')}</option>
          {Object.keys(MARKS).map(state => (
            <option key={state} value={state}>
              {state}
            </option>
          ))}
        </select>
        <input
          className="mlops-Input"
          type="search"
          aria-label={trans.__('Filter runs')}
          placeholder={trans.__('filter')}
          value={text}
          onChange={event => setText(event.target.value)}
        />
      </div>
      <Ticked model={model} />
      {error && <Problem error={error} again={() => void model.readRuns()} />}
      <Schedules model={model} />
      {!data && loading && <Loading what={trans.__('Reading the runs')} />}
      {data && !runs.length && (
        <Empty
          title={
            data.runs.length
              ? trans.__('No run fits the filter')
              : trans.__('No runs yet')
          }
        >
          {!data.runs.length && (
            <Button tone="accept" onClick={() => model.show('run')}>
              {trans.__('Run a notebook')}
            </Button>
          )}
        </Empty>
      )}
      {runs.length > 0 && <Rows model={model} runs={runs} />}
      {data?.next && text && (
        <Button tone="quiet" onClick={() => void model.moreRuns()}>
          {trans.__('Look through older runs, too')}
        </Button>
      )}
    </div>
  );
}

function matches(run: Run, text: string): boolean {
  const words = text
    .toLowerCase()
    .split(/\s+/)
    .filter(word => word);
  const said = [
    run.id,
    run.notebook,
    run.model,
    run.schedule,
    ...Object.entries(run.parameters).map(([name, value]) => `${name}=${value}`)
  ]
    .join(' ')
    .toLowerCase();
  return words.every(word => said.includes(word));
}

/** Only rows that can be seen are drawn: ten thousand scroll as ten do. */
function Rows(props: { model: Model; runs: Run[] }): JSX.Element {
  const { model, runs } = props;
  const trans = useWords();
  const place = React.useRef<HTMLDivElement>(null);
  const [top, setTop] = React.useState(0);
  const [height, setHeight] = React.useState(600);
  React.useEffect(() => {
    const node = place.current;
    if (!node) {
      return;
    }
    const measure = () => setHeight(node.clientHeight || 600);
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(node);
    return () => observer.disconnect();
  }, []);
  const first = Math.max(0, Math.floor(top / ROW) - SPARE);
  const last = Math.min(runs.length, Math.ceil((top + height) / ROW) + SPARE);
  React.useEffect(() => {
    if (last >= runs.length - SPARE) {
      void model.moreRuns();
    }
  }, [last, runs.length, model]);
  return (
    <div
      className="mlops-Rows"
      ref={place}
      onScroll={event => setTop(event.currentTarget.scrollTop)}
    >
      <ul aria-label={trans.__('Runs')} style={{ height: runs.length * ROW }}>
        {runs.slice(first, last).map((run, at) => (
          <Row
            key={run.id}
            model={model}
            run={run}
            top={(first + at) * ROW}
            place={first + at + 1}
            count={model.runs.data?.next ? -1 : runs.length}
          />
        ))}
      </ul>
    </div>
  );
}

function Row(props: {
  model: Model;
  run: Run;
  top: number;
  place: number;
  count: number;
}): JSX.Element {
  const { model, run } = props;
  const trans = useWords();
  const going = !FINAL.has(run.state);
  const what = run.children
    ? trans.__('sweep of %1', String(run.children))
    : run.schedule
      ? trans.__('schedule %1', run.schedule)
      : '';
  const metrics = Object.entries(run.metrics)
    .slice(0, 3)
    .map(([name, value]) => `${name} ${number(value)}`)
    .join(' · ');
  const line = going
    ? run.doing || run.last_line
    : run.failure
      ? run.failure.reason
      : metrics;
  return (
    <li
      className="mlops-RunRow"
      style={{ top: props.top, height: ROW }}
      aria-posinset={props.place}
      aria-setsize={props.count}
    >
      <input
        type="checkbox"
        aria-label={trans.__('Tick %1', run.id)}
        checked={model.ticked.has(run.id)}
        onChange={() => model.tick(run.id)}
      />
      <button
        type="button"
        className="mlops-RunRow-open"
        onClick={() => void model.look(run.id)}
      >
        <span className="mlops-RunRow-head">
          <Badge tone={TONES[run.state]} mark={MARKS[run.state]}>
            <span className="mlops-RunRow-state">{run.state}</span>
          </Badge>
          <span className="mlops-RunRow-id">{run.id}</span>
          <span className="mlops-RunRow-time">
            <Clock run={run} />
          </span>
        </span>
        <span className="mlops-RunRow-line">
          {what && <b>{what} </b>}
          {going && run.cells > 0 && `${run.cells_done}/${run.cells} `}
          {line}
        </span>
        {going && <Bar run={run} />}
      </button>
    </li>
  );
}

/** How long a run has been going on; it ticks by itself, without anything else being drawn. */
function Clock(props: { run: Run }): JSX.Element {
  const { run } = props;
  const [now, setNow] = React.useState(Date.now());
  const going = !FINAL.has(run.state);
  React.useEffect(() => {
    if (!going) {
      return;
    }
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [going]);
  return <>{took(run, now)}</>;
}

function Bar(props: { run: Run }): JSX.Element {
  const { run } = props;
  const trans = useWords();
  const known = run.cells > 0;
  return (
    <progress
      className="mlops-Bar"
      aria-label={trans.__('Cells of %1', run.id)}
      {...(known ? { value: run.cells_done, max: run.cells } : {})}
    />
  );
}

/** What may be done with the runs that are ticked. */
function Ticked(props: { model: Model }): JSX.Element | null {
  const { model } = props;
  const trans = useWords();
  const ids = [...model.ticked];
  if (!ids.length) {
    return null;
  }
  const runs = (model.runs.data?.runs ?? []).filter(run => model.ticked.has(run.id));
  const going = runs.filter(run => !FINAL.has(run.state));
  const ended = runs.length === ids.length && going.length === 0;
  return (
    <div className="mlops-Actions" role="group" aria-label={trans.__('Ticked runs')}>
      <Doing
        label={trans.__('Compare %1', String(ids.length))}
        disabled={ids.length < 2 || ids.length > MOST_COMPARED}
        title={trans.__('Two to five runs are compared')}
        act={() => model.compare()}
      />
      {going.length > 0 && (
        <Doing
          tone="warn"
          label={trans.__('Cancel %1', String(going.length))}
          act={async () => {
            for (const run of going) {
              model.take(await model.ask('cancel', { run: run.id }));
            }
          }}
        />
      )}
      <Doing
        tone="warn"
        label={trans.__('Delete %1', String(ids.length))}
        disabled={!ended}
        title={trans.__(
          'Runs that ended; mlops delete --restore brings their records back'
        )}
        act={async () => {
          const sure = await agreed(
            trans.__('Delete %1 runs?', String(ids.length)),
            trans.__(
              'Their folders go. Their records can be brought back: mlops delete --restore.'
            ),
            trans.__('Delete')
          );
          if (sure) {
            await model.remove(ids);
          }
        }}
      />
    </div>
  );
}

function Schedules(props: { model: Model }): JSX.Element | null {
  const { model } = props;
  const trans = useWords();
  const { data, error } = model.schedules;
  if (error) {
    return <Problem error={error} again={() => void model.readSchedules()} />;
  }
  if (!data?.length) {
    return null;
  }
  return (
    <details className="mlops-Section">
      <summary>{trans.__('Schedules (%1)', String(data.length))}</summary>
      {data.map(each => (
        <ScheduleCard key={each.name} model={model} schedule={each} />
      ))}
    </details>
  );
}

function ScheduleCard(props: { model: Model; schedule: Scheduled }): JSX.Element {
  const { model, schedule } = props;
  const trans = useWords();
  const paused = schedule.state === 'paused';
  const then = async (verb: 'schedule pause' | 'schedule resume' | 'schedule delete') => {
    await model.ask(verb, { name: schedule.name });
    await model.readSchedules();
  };
  return (
    <div className="mlops-Card">
      <div className="mlops-Card-title">
        {schedule.name}
        <Badge tone={paused ? 'warn' : 'good'} mark={paused ? '■' : '▶'}>
          {schedule.state}
        </Badge>
      </div>
      <Facts
        rows={[
          [trans.__('when'), schedule.when],
          [trans.__('next'), schedule.next.length ? when(schedule.next[0]) : ''],
          [trans.__('last'), schedule.last_run]
        ]}
      />
      <div className="mlops-Actions">
        <Doing
          label={paused ? trans.__('Resume') : trans.__('Pause')}
          act={() => then(paused ? 'schedule resume' : 'schedule pause')}
        />
        {schedule.last_run && (
          <Button onClick={() => void model.look(schedule.last_run)}>
            {trans.__('Last run')}
          </Button>
        )}
        <Doing
          tone="warn"
          label={trans.__('Delete')}
          act={async () => {
            const sure = await agreed(
              trans.__('Delete schedule %1?', schedule.name),
              trans.__('Its runs stay.'),
              trans.__('Delete')
            );
            if (sure) {
              await then('schedule delete');
            }
          }}
        />
      </div>
    </div>
  );
}

function isSweep(found: Run | SweepResult): found is SweepResult {
  return 'run' in found;
}

function Looked(props: {
  model: Model;
  openNotebook: (run: Run) => Promise<void>;
}): JSX.Element {
  const { model } = props;
  const trans = useWords();
  const { data, error } = model.run;
  return (
    <div>
      <Button tone="quiet" onClick={() => void model.look('')}>
        ← {trans.__('All runs')}
      </Button>
      {error && <Problem error={error} again={() => void model.readRun()} />}
      {!data && !error && <Loading what={trans.__('Reading %1', model.run.id)} />}
      {data && !isSweep(data) && (
        <One model={model} run={data} openNotebook={props.openNotebook} />
      )}
      {data && isSweep(data) && (
        <>
          <One model={model} run={data.run} openNotebook={props.openNotebook} />
          <Children model={model} sweep={data} />
        </>
      )}
    </div>
  );
}

function Children(props: { model: Model; sweep: SweepResult }): JSX.Element {
  const { model, sweep } = props;
  const trans = useWords();
  const names = [...new Set(sweep.children.flatMap(run => Object.keys(run.parameters)))];
  const metric = sweep.run.best.split(':')[1] ?? '';
  return (
    <div className="mlops-Scroll" tabIndex={0}>
      <table className="mlops-Table" aria-label={trans.__('Children of the sweep')}>
        <thead>
          <tr>
            <th>{trans.__('run')}</th>
            <th>{trans.__('state')}</th>
            {names.map(name => (
              <th key={name}>{name}</th>
            ))}
            {metric && <th>{metric}</th>}
          </tr>
        </thead>
        <tbody>
          {sweep.children.map(run => (
            <tr key={run.id}>
              <td>
                <Button tone="quiet" onClick={() => void model.look(run.id)}>
                  {run.id === sweep.best ? '★ ' : ''}
                  {run.id}
                </Button>
              </td>
              <td>
                <Badge tone={TONES[run.state]} mark={MARKS[run.state]}>
                  {run.state}
                </Badge>
              </td>
              {names.map(name => (
                <td key={name}>{String(run.parameters[name] ?? '')}</td>
              ))}
              {metric && <td>{number(run.metrics[metric])}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function One(props: {
  model: Model;
  run: Run;
  openNotebook: (run: Run) => Promise<void>;
}): JSX.Element {
  const { model, run, openNotebook } = props;
  const trans = useWords();
  const going = !FINAL.has(run.state);
  const verdict = run.failure?.verdict ?? run.verdict;
  const refused = verdict?.checks.some(check => check.outcome !== 'passed');
  const trails = model.trails[run.id] ?? {};
  return (
    <article className="mlops-Run" aria-label={trans.__('Run %1', run.id)}>
      <h3 className="mlops-Heading">{run.id}</h3>
      <div className="mlops-Row" aria-live="polite">
        <Badge tone={TONES[run.state]} mark={MARKS[run.state]}>
          {run.state}
        </Badge>
        {refused && (
          <Badge tone="bad" mark="✘">
            {trans.__('refused by its gates')}
          </Badge>
        )}
        <span>
          <Clock run={run} />
        </span>
        {run.cells > 0 && (
          <span>
            {going
              ? trans.__(
                  'cell %1 of %2',
                  String(Math.min(run.cells_done + 1, run.cells)),
                  String(run.cells)
                )
              : trans.__('%1 of %2 cells', String(run.cells_done), String(run.cells))}
          </span>
        )}
      </div>
      {going && <Bar run={run} />}
      {going && (run.last_line || run.doing) && (
        <code className="mlops-LastLine">{run.last_line || run.doing}</code>
      )}
      {run.failure && (
        <div className="mlops-Problem" role="alert">
          <div className="mlops-Problem-what">✘ {run.failure.reason}</div>
          {run.failure.hint && (
            <div className="mlops-Problem-next">→ {run.failure.hint}</div>
          )}
        </div>
      )}
      <div className="mlops-Actions">
        {going && (
          <Doing
            tone="warn"
            label={trans.__('Cancel')}
            busy={trans.__('Cancelling …')}
            act={async () => model.take(await model.ask('cancel', { run: run.id }))}
          />
        )}
        {!going && run.state !== 'succeeded' && (
          <Doing
            label={trans.__('Retry')}
            act={async () => {
              const found = await model.ask('retry', { run: run.id });
              model.take(('run' in found ? found.run : found) as Run);
              await model.readRun();
            }}
          />
        )}
        {!run.children && (
          <Doing
            label={
              run.failure?.cell
                ? trans.__('Open at the failed cell')
                : trans.__('Open the executed notebook')
            }
            disabled={going}
            act={() => openNotebook(run)}
          />
        )}
        {run.url && (
          <a className="mlops-Link" href={run.url} target="_blank" rel="noreferrer">
            MLflow
          </a>
        )}
      </div>
      {Object.keys(run.metrics).length > 0 && (
        <table className="mlops-Table" aria-label={trans.__('Metrics')}>
          <tbody>
            {Object.entries(run.metrics)
              .sort(([a], [b]) => a.localeCompare(b))
              .map(([name, value]) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td>{number(value)}</td>
                  <td>
                    <Sparkline name={name} values={trails[name] ?? []} />
                  </td>
                </tr>
              ))}
          </tbody>
        </table>
      )}
      {verdict && verdict.checks.length > 0 && <Gates verdict={verdict} />}
      <Outcome model={model} run={run} />
      <details className="mlops-Section">
        <summary>{trans.__('Parameters and lineage')}</summary>
        <Facts
          rows={[
            ...Object.entries(run.parameters).map(
              ([name, value]) => [name, String(value)] as [string, string]
            ),
            ...Object.entries(run.defaults).map(
              ([name, value]) =>
                [name, trans.__('%1 (default)', String(value))] as [string, string]
            ),
            [trans.__('notebook'), run.notebook],
            [trans.__('commit'), run.code_commit || run.code_note],
            ...run.datasets.map(
              each =>
                [
                  trans.__('data %1', each.name),
                  `${each.uri} ${each.digest.slice(0, 19)}`
                ] as [string, string]
            ),
            [trans.__('started'), when(run.started)],
            [trans.__('place'), run.executor],
            [trans.__('peak memory'), run.peak_memory ? size(run.peak_memory) : ''],
            [trans.__('cached from'), run.cached_from],
            [trans.__('MLflow run'), run.tracking_id]
          ]}
        />
      </details>
      {!run.children && <Logs model={model} run={run} />}
    </article>
  );
}

/** What became of the model, and what may be done with it. */
function Outcome(props: { model: Model; run: Run }): JSX.Element | null {
  const { model, run } = props;
  const trans = useWords();
  const [name, setName] = React.useState('');
  if (run.state !== 'succeeded' || run.children) {
    return null;
  }
  if (run.model) {
    return (
      <div className="mlops-Row">
        <Badge tone="good" mark="✔">
          {run.model}
        </Badge>
        <Button onClick={() => model.propose(run.model)}>{trans.__('Deploy …')}</Button>
      </div>
    );
  }
  return (
    <div className="mlops-Row">
      <TextField
        id="mlops-register-run"
        label={trans.__('Register as')}
        value={name}
        set={setName}
      />
      <Doing
        tone="accept"
        label={trans.__('Register')}
        disabled={!name.trim()}
        act={async () => {
          const version = await model.ask('register', { run: run.id, name: name.trim() });
          const made = `${version.name}/${version.version}`;
          model.say(trans.__('registered %1', made));
          model.take({ ...run, model: made });
        }}
      />
    </div>
  );
}

function Logs(props: { model: Model; run: Run }): JSX.Element {
  const { model, run } = props;
  const trans = useWords();
  const [open, setOpen] = React.useState(false);
  const end = React.useRef<HTMLPreElement>(null);
  const going = !FINAL.has(run.state);
  const lines = model.log.data;
  // What is printed is read again when cells or lines pass, not by the clock.
  React.useEffect(() => {
    if (!open) {
      return;
    }
    const timer = setTimeout(() => void model.readLog(), lines ? 1000 : 0);
    return () => clearTimeout(timer);
  }, [open, run.id, run.last_line, run.cells_done, run.state]);
  React.useEffect(() => {
    if (going && end.current) {
      end.current.scrollTop = end.current.scrollHeight;
    }
  }, [lines, going]);
  return (
    <details
      className="mlops-Section"
      open={open}
      onToggle={event => setOpen(event.currentTarget.open)}
    >
      <summary>{trans.__('What it printed')}</summary>
      {model.log.error && <Problem error={model.log.error} />}
      {open && !lines && model.log.loading && (
        <Loading what={trans.__('Reading the log')} />
      )}
      {lines && (
        <pre
          className="mlops-Log"
          ref={end}
          tabIndex={0}
          aria-label={trans.__('Log of %1', run.id)}
        >
          {lines.length ? lines.join('\n') : trans.__('nothing')}
        </pre>
      )}
    </details>
  );
}
