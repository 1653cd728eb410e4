/** Runs side by side. */
import * as React from 'react';

import { Run } from '../generated/documents';
import { Model } from '../model';
import { number } from '../text';
import { Button, Problem, useWords } from './bits';

export function Comparing(props: { model: Model }): JSX.Element {
  const { model } = props;
  const trans = useWords();
  const { data, error } = model.compared;
  return (
    <div>
      <Button tone="quiet" onClick={() => model.closeComparison()}>
        ← {trans.__('All runs')}
      </Button>
      {error && <Problem error={error} again={() => void model.compare()} />}
      {data && <Compared runs={data} look={id => void model.look(id)} />}
    </div>
  );
}

export function Compared(props: {
  runs: Run[];
  look: (id: string) => void;
}): JSX.Element {
  const { runs, look } = props;
  const trans = useWords();
  const values = (run: Run): Record<string, unknown> => ({
    ...run.defaults,
    ...run.parameters
  });
  const parameters = names(runs.map(values));
  const metrics = names(runs.map(run => run.metrics));
  const differ = (name: string) =>
    new Set(runs.map(run => String(values(run)[name] ?? ''))).size > 1;
  const changed = parameters.filter(differ);
  const same = parameters.filter(name => !differ(name));
  return (
    <>
      <div className="mlops-Scroll" tabIndex={0}>
        <table className="mlops-Table" aria-label={trans.__('Compared runs')}>
          <thead>
            <tr>
              <td />
              {runs.map(run => (
                <th key={run.id} scope="col">
                  <Button tone="quiet" onClick={() => look(run.id)}>
                    {run.id}
                  </Button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {changed.map(name => (
              <tr key={name}>
                <th scope="row">{name}</th>
                {runs.map(run => (
                  <td key={run.id}>{String(values(run)[name] ?? '–')}</td>
                ))}
              </tr>
            ))}
            {metrics.map(name => (
              <tr key={name}>
                <th scope="row">{name}</th>
                {runs.map(run => (
                  <td key={run.id}>{number(run.metrics[name])}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {same.length > 0 && (
        <p className="mlops-Field-help">
          {trans.__(
            'The same in all: %1',
            same.map(name => `${name} ${String(values(runs[0])[name])}`).join(', ')
          )}
        </p>
      )}
      {metrics.map(name => (
        <Plot key={name} name={name} runs={runs} />
      ))}
    </>
  );
}

function names(of: Record<string, unknown>[]): string[] {
  return [...new Set(of.flatMap(one => Object.keys(one)))].sort();
}

/** One bar a run; the numbers stand in the table, so the picture is told by its name alone. */
function Plot(props: { name: string; runs: Run[] }): JSX.Element | null {
  const trans = useWords();
  const found = props.runs
    .map(run => ({ id: run.id, value: Number(run.metrics[props.name] ?? NaN) }))
    .filter(one => Number.isFinite(one.value));
  if (found.length < 2) {
    return null;
  }
  const high = Math.max(0, ...found.map(one => one.value));
  const low = Math.min(0, ...found.map(one => one.value));
  const range = high - low || 1;
  const x = (value: number) => ((value - low) / range) * 100;
  return (
    <figure className="mlops-Plot">
      <figcaption>{props.name}</figcaption>
      <svg
        viewBox={`0 0 100 ${found.length * 8}`}
        preserveAspectRatio="none"
        style={{ height: found.length * 14 }}
        role="img"
        aria-label={trans.__('%1 of each run', props.name)}
      >
        {found.map((one, at) => (
          <rect
            key={one.id}
            x={Math.min(x(0), x(one.value))}
            y={at * 8 + 1}
            width={Math.max(0.5, Math.abs(x(one.value) - x(0)))}
            height={6}
          >
            <title>{`${one.id}: ${number(one.value)}`}</title>
          </rect>
        ))}
      </svg>
    </figure>
  );
}
