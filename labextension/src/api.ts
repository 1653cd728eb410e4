import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import {
  Documents,
  Fault,
  Overview,
  Refused,
  Resource,
  Verbs
} from './generated/documents';

/** A verb's fields without its own word. */
export type Fields<V extends keyof Verbs> = Omit<Verbs[V], 'verb'>;

/** Why something was not done; `offline` where the server was not reached at all. */
export class Refusal extends Error {
  constructor(
    readonly fault: Fault,
    readonly status: number
  ) {
    super(fault.message);
  }

  get offline(): boolean {
    return this.status === 0;
  }
}

/** What the panel asks of the server; docs/server.md tells the routes. */
export interface IApi {
  /** Do a verb; `path` is a notebook or folder of the project that is meant. */
  ask<V extends keyof Documents & keyof Verbs>(
    verb: V,
    fields: Fields<V>,
    path: string
  ): Promise<{ document: Documents[V]; notes: string[] }>;
  project(path: string): Promise<Overview>;
  resource(run: string, path: string): Promise<Resource>;
}

export class Api implements IApi {
  constructor(private settings: ServerConnection.ISettings) {}

  async ask<V extends keyof Documents & keyof Verbs>(
    verb: V,
    fields: Fields<V>,
    path: string
  ): Promise<{ document: Documents[V]; notes: string[] }> {
    const response = await this.fetch(verb.replace(' ', '-'), {
      method: 'POST',
      body: JSON.stringify({ path, verb: fields })
    });
    return {
      document: await response.json(),
      notes: JSON.parse(response.headers.get('Mlops-Nb-Notes') ?? '[]')
    };
  }

  async project(path: string): Promise<Overview> {
    const query = URLExt.objectToQueryString({ path });
    return (await this.fetch(`project${query}`, {})).json();
  }

  async resource(run: string, path: string): Promise<Resource> {
    const query = URLExt.objectToQueryString({ run, path });
    return (await this.fetch(`resource${query}`, {})).json();
  }

  private async fetch(route: string, init: RequestInit): Promise<Response> {
    const url = URLExt.join(this.settings.baseUrl, 'mlops-nb/v1', route);
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(url, init, this.settings);
    } catch (error) {
      throw new Refusal(
        fault(
          'BackendUnavailable',
          'the Jupyter server does not answer',
          'see whether it still runs; the panel goes on by itself once it does'
        ),
        0
      );
    }
    if (response.ok) {
      return response;
    }
    throw new Refusal(await readFault(response), response.status);
  }
}

async function readFault(response: Response): Promise<Fault> {
  try {
    return ((await response.json()) as Refused).error;
  } catch {
    // A proxy between here and there speaks no JSON.
    return fault(
      'BackendError',
      `the server answers ${response.status} ${response.statusText}`,
      'reload the page; if it stays so, see the server’s log'
    );
  }
}

function fault(type: string, message: string, hint: string): Fault {
  return { type, message, hint, exit_code: 4, verdict: null };
}

/** Give any error as one that can be shown. */
export function asRefusal(error: unknown): Refusal {
  return error instanceof Refusal
    ? error
    : new Refusal(
        fault('MlopsError', String(error), 'that is a fault of the panel'),
        500
      );
}
