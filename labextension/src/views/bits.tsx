/** What every view is made of. */
import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Refusal } from '../api';
import { Check, Verdict } from '../generated/documents';
import { number } from '../text';

export const Words = React.createContext<TranslationBundle>(
  null as unknown as TranslationBundle
);

export function useWords(): TranslationBundle {
  return React.useContext(Words);
}

export function Button(
  props: React.ButtonHTMLAttributes<HTMLButtonElement> & {
    tone?: 'accept' | 'warn' | 'quiet';
  }
): JSX.Element {
  const { tone, className, ...rest } = props;
  const toned = tone ? ` mlops-Button-${tone}` : '';
  return (
    <button
      type="button"
      {...rest}
      className={`mlops-Button${toned} ${className ?? ''}`}
    />
  );
}

/** A button that is busy while what it does goes on; a refusal is shown below it. */
export function Doing(props: {
  label: string;
  busy?: string;
  tone?: 'accept' | 'warn' | 'quiet';
  disabled?: boolean;
  title?: string;
  act: () => Promise<void>;
}): JSX.Element {
  const [busy, setBusy] = React.useState(false);
  const [error, setError] = React.useState<Refusal | null>(null);
  const alive = React.useRef(true);
  React.useEffect(() => {
    alive.current = true;
    return () => {
      alive.current = false;
    };
  }, []);
  const act = async () => {
    setBusy(true);
    setError(null);
    try {
      await props.act();
    } catch (found) {
      if (alive.current) {
        setError(found as Refusal);
      }
    } finally {
      if (alive.current) {
        setBusy(false);
      }
    }
  };
  return (
    <>
      <Button
        tone={props.tone}
        title={props.title}
        disabled={props.disabled || busy}
        aria-busy={busy}
        onClick={() => void act()}
      >
        {busy ? (props.busy ?? `${props.label} …`) : props.label}
      </Button>
      {error && <Problem error={error} />}
    </>
  );
}

/** What went wrong, why, and the one next step. */
export function Problem(props: { error: Refusal; again?: () => void }): JSX.Element {
  const trans = useWords();
  const { fault } = props.error;
  return (
    <div className="mlops-Problem" role="alert">
      <div className="mlops-Problem-what">
        <span aria-hidden="true">✘ </span>
        {fault?.message ?? String(props.error)}
      </div>
      {fault?.hint && <div className="mlops-Problem-next">→ {fault.hint}</div>}
      {fault?.verdict && <Gates verdict={fault.verdict} />}
      {props.again && (
        <Button tone="quiet" onClick={props.again}>
          {trans.__('Try again')}
        </Button>
      )}
    </div>
  );
}

export function Loading(props: { what: string }): JSX.Element {
  return (
    <div className="mlops-Loading" role="status">
      <span className="mlops-Spinner" aria-hidden="true" /> {props.what}
    </div>
  );
}

export function Empty(props: { title: string; children?: React.ReactNode }): JSX.Element {
  return (
    <div className="mlops-Empty">
      <p className="mlops-Empty-title">{props.title}</p>
      {props.children}
    </div>
  );
}

export function Field(props: {
  label: string;
  id: string;
  help?: string;
  error?: string;
  changed?: boolean;
  reset?: () => void;
  children: React.ReactNode;
}): JSX.Element {
  const trans = useWords();
  return (
    <div className={`mlops-Field${props.changed ? ' mlops-mod-changed' : ''}`}>
      <div className="mlops-Field-head">
        <label htmlFor={props.id}>{props.label}</label>
        {props.changed && (
          <span className="mlops-Field-changed">{trans.__('changed')}</span>
        )}
        {props.changed && props.reset && (
          <Button
            tone="quiet"
            onClick={props.reset}
            aria-label={trans.__('Reset %1', props.label)}
          >
            {trans.__('reset')}
          </Button>
        )}
      </div>
      {props.children}
      {props.help && (
        <div className="mlops-Field-help" id={`${props.id}-help`}>
          {props.help}
        </div>
      )}
      {props.error && (
        <div className="mlops-Field-error" role="alert" id={`${props.id}-error`}>
          ✘ {props.error}
        </div>
      )}
    </div>
  );
}

/** A labelled line of text. */
export function TextField(props: {
  id: string;
  label: string;
  value: string;
  set: (text: string) => void;
  help?: string;
  placeholder?: string;
  number?: { min: number };
}): JSX.Element {
  const { id, label, value, set, help, placeholder } = props;
  return (
    <Field id={id} label={label} help={help}>
      <input
        id={id}
        className={`mlops-Input${props.number ? ' mlops-mod-short' : ''}`}
        type={props.number ? 'number' : 'text'}
        min={props.number?.min}
        spellCheck={false}
        placeholder={placeholder}
        aria-describedby={help ? `${id}-help` : undefined}
        value={value}
        onChange={event => set(event.target.value)}
      />
    </Field>
  );
}

export function Badge(props: {
  tone: string;
  mark: string;
  children: React.ReactNode;
}): JSX.Element {
  return (
    <span className={`mlops-Badge mlops-mod-${props.tone}`}>
      <span aria-hidden="true">{props.mark}</span> {props.children}
    </span>
  );
}

/** Gates with what they were judged by. */
export function Gates(props: { verdict: Verdict }): JSX.Element {
  const trans = useWords();
  const marks = { passed: '✔', failed: '✘', skipped: '–' };
  const tones = { passed: 'good', failed: 'bad', skipped: 'idle' };
  const interval = (check: Check) =>
    check.low === null || check.high === null
      ? ''
      : `${number(check.low)} … ${number(check.high)}`;
  return (
    <div className="mlops-Scroll" tabIndex={0}>
      <table className="mlops-Table" aria-label={trans.__('Gates')}>
        <thead>
          <tr>
            <th>{trans.__('gate')}</th>
            <th>{trans.__('result')}</th>
            <th>{trans.__('value')}</th>
            <th>{trans.__('95 % interval')}</th>
            <th>{trans.__('rows')}</th>
          </tr>
        </thead>
        <tbody>
          {props.verdict.checks.map(check => (
            <tr key={check.gate} title={check.reason}>
              <td>
                <code>{check.gate}</code>
              </td>
              <td>
                <Badge tone={tones[check.outcome]} mark={marks[check.outcome]}>
                  {check.outcome}
                </Badge>
              </td>
              <td>{number(check.value)}</td>
              <td>{interval(check)}</td>
              <td>{check.n || '–'}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Names and values below each other. */
export function Facts(props: { rows: [string, React.ReactNode][] }): JSX.Element {
  return (
    <dl className="mlops-Facts">
      {props.rows
        .filter(([, value]) => value !== '' && value !== null)
        .map(([name, value]) => (
          <React.Fragment key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </React.Fragment>
        ))}
    </dl>
  );
}

/** How a metric went; the numbers are told to who cannot see it. */
export function Sparkline(props: { name: string; values: number[] }): JSX.Element | null {
  const trans = useWords();
  const { values } = props;
  if (values.length < 2) {
    return null;
  }
  const low = Math.min(...values);
  const range = Math.max(...values) - low || 1;
  const points = values
    .map((value, at) => {
      const x = (at / (values.length - 1)) * 78 + 1;
      const y = 17 - ((value - low) / range) * 16;
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(' ');
  return (
    <svg
      className="mlops-Sparkline"
      viewBox="0 0 80 18"
      role="img"
      aria-label={trans.__(
        '%1: %2 values, from %3 to %4',
        props.name,
        String(values.length),
        number(values[0]),
        number(values[values.length - 1])
      )}
    >
      <polyline points={points} />
    </svg>
  );
}
